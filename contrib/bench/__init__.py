"""How fast mtaframe is: side by side with other mail servers, on the reader's own machine. Never run in CI."""
