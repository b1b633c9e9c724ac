"""Views for people: listings, exports, health, mappings."""
