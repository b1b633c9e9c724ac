"""What a customer may do: one function per action; each checks, then commits one store transaction."""
