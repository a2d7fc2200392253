"""What a person looks at: plots, the attribute browser and its panel."""
