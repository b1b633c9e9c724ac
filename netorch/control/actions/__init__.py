"""One function per action: it checks, then commits one store transaction."""
