"""Images: so far, the rootfs that `invoke fs-setup` makes."""
