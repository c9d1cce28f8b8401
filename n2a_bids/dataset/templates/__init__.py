"""Brain templates and atlases: those of TemplateFlow that are on disk or fetched, and files of users."""
