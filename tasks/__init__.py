"""Tasks: what is done with a tokenizer, and the metrics, feature nets and priors that they need."""
