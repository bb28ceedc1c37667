"""Stage 0: boots the kernels that the manifest allows."""
