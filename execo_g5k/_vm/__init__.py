"""Virtual machines of libvirt on many hosts; the public module is `execo_g5k.vmutils`."""
