"""Balancing at connect time: a program in the kernel replaces a Service's address by an endpoint's when a local client
connects, and no packet is ever translated. Beside the nftables plane, which carries all that these programs leave."""
