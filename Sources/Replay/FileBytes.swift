#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Whole files, for inputs of a command.
package enum FileBytes {
    /// The bytes of a file, `-` for standard input; nil when it cannot be read.
    package static func read(_ path: String) -> [UInt8]? {
        let descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { if descriptor != 0 { close(descriptor) } }
        var bytes: [UInt8] = []
        while true {
            var failed = false
            let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
                let result = systemRead(descriptor, buffer.baseAddress, buffer.count)
                failed = result < 0 && errno != EINTR
                count = max(result, 0)
            }
            if failed { return nil }
            if chunk.isEmpty { return bytes }
            bytes += chunk
        }
    }
}

private func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(descriptor, buffer, count)
}
