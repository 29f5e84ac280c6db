"""The pages that people look at: frames of HTML, small ES modules, a browser's session. Data come from the public API."""
