// Replaced by the module's first file.
enum Placeholder {}
