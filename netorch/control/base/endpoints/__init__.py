"""What commands and plans decide alike about endpoints."""
