"""What people read: listings, exports, health, mappings."""
