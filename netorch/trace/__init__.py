"""Where packets go, without sending any: pure walks over what hosts hold, and over what customers asked for."""
