#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The material beside the project (`../shared`), which is not part of it: tests that need it are skipped without it.
enum SharedFolder {
    private static let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    static let path = "\(root)/../shared"

    static func has(_ file: String) -> Bool { access("\(path)/\(file)", R_OK) == 0 }

    /// The golden scenarios; a copy of theirs is in this checkout.
    static var golden: [UInt8] { contents("\(root)/Tests/Scenarios/golden.json") }

    /// Further scenarios of the same rules.
    static var rules: [UInt8] { contents("\(root)/Tests/Scenarios/rules.json") }

    static func bytes(_ file: String) -> [UInt8] { contents("\(path)/\(file)") }

    private static func contents(_ path: String) -> [UInt8] {
        let descriptor = open(path, O_RDONLY)
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
