"""How an agent follows the store: what it lists, watches, proves and audits."""
