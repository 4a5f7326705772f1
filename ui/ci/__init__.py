"""Reports that continuous integration reads: JUnit, SARIF and a Markdown summary of a plan or run."""
