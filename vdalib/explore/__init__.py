"""What a person looks at: plots, tables, the attribute browser."""
