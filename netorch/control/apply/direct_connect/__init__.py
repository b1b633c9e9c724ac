"""Plan Direct Connect connections and virtual interfaces as a file declares them."""
