"""What a stream asks for, checked before anything is sent."""
