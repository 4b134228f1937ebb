"""Group commit: rows queue by caller, share commits, and are handed to the forward publisher once committed."""
