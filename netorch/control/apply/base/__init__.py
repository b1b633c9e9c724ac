"""What planners share: room, free numbers and addresses, files of keys, the order in which things end."""
