#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The material beside the project (`../shared`), which is not part of it: tests that need it are skipped without it.
enum SharedFolder {
    static let path: String = {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return "/\(root)/../shared"
    }()

    static func has(_ file: String) -> Bool { access("\(path)/\(file)", R_OK) == 0 }

    static func bytes(_ file: String) -> [UInt8] {
        let descriptor = open("\(path)/\(file)", O_RDONLY)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while true {
            let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
                count = max(read(descriptor, buffer.baseAddress, buffer.count), 0)
            }
            if chunk.isEmpty { return bytes }
            bytes += chunk
        }
    }
}
