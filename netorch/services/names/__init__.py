"""The name service: answers instances' questions (DNS), each VPC's from its own names."""
