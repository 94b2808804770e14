"""What a request holds: texts, files, pictures, sounds, values made into parts, and its generationConfig."""
