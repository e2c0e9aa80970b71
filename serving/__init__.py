"""From an artifact to answers over gRPC."""
