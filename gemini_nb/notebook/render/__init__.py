"""From events to text: a stream as HTML, as Markdown and in a terminal, without any widget."""
