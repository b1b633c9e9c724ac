"""The name service: answers instances' DNS questions from the names of their VPC."""
