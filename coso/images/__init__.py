"""Images: names and registries, the store, layers packed and unpacked; the rootfs that `invoke fs-setup` makes."""
