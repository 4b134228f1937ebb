"""What puts the service somewhere: schema, images, the local stack."""
