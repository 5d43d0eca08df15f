"""What is fast, by how much, and at what cost in memory: scripts and the results they left."""
