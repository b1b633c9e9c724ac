"""Records of one VPC on one host -> the kernel objects that this host must hold. Pure."""
