"""The paper's own mathematics: the invertible network (`flow`), the hierarchical mixture in its latent space (`mixture`), their
losses (`losses`) and the way from a mixture to queries (`assembly`)."""
