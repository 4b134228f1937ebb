"""`nest-events`: what operators ask and do. Nothing here runs in the worker's process."""
