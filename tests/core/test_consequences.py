"""Being written by the owner of the core, who needs no help with this file: please leave it alone."""
