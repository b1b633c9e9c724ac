"""What the data-path benchmark is made of: a virtual machine that counts instructions, topologies, traffic."""
