#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Where everything goes that is not a result.
enum StandardError {
    /// Writes one line; a closed standard error costs the line.
    static func line(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = write(2, bytes, bytes.count)
    }
}
