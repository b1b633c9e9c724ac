"""What makes connections and virtual interfaces of Direct Connect as a file declares them."""
