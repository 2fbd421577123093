// Private, throw-away PostgreSQL and Redis servers: for `smartorders dev` and for tests against the real thing.
//
// A server listens on a unix socket inside its own directory and nowhere else. It is owned by pid: stopped or killed
// through the process that started it, and it dies with that process, `kill -9` included.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// Starts private servers. Each function returns when the server accepts connections.
public enum LocalServers {
    /// Removes a folder that servers were started in, with all of their data.
    public static func remove(_ directory: String) { LocalFiles.removeTree(directory) }
}

/// Why a private server did not start or stop.
public struct LocalServerError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The server's program, `setpriv` or the account to run as is not installed.
        case notInstalled
        /// The directory cannot be used: not creatable, or its socket path would be too long.
        case directory
        /// The server ended while it started; `detail` holds the end of its log.
        case exited
        /// Not ready, or not ended, in time.
        case timeout
        /// Called in the wrong state, e.g. `start` while it runs.
        case state
    }

    public let code: Code
    /// One line, or a few lines of the server's log.
    public let detail: String

    public init(_ code: Code, _ detail: String) {
        self.code = code
        self.detail = detail
    }

    public var description: String { "\(code.rawValue): \(detail)" }
}

/// Files and programs, as far as starting a server needs them.
package enum LocalFiles {
    /// The longest path that fits in `sockaddr_un`.
    package static let longestSocketPath = 107

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The first `name` in `folders`, else in `PATH`.
    package static func program(_ name: String, in folders: [String] = []) -> String? {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        let all = folders + path.split(separator: ":").map(String.init) + ["/usr/bin", "/bin", "/usr/local/bin"]
        return all.lazy.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// The names in a folder, ascending; empty when it is not there.
    package static func names(in folder: String) -> [String] {
        guard let handle = opendir(folder) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
                field.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// The text of a file, at most its last `limit` bytes; nil when it cannot be read.
    package static func text(_ path: String, last limit: Int = 1 << 16) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let size = Int(lseek(descriptor, 0, SEEK_END))
        lseek(descriptor, off_t(max(0, size - limit)), SEEK_SET)
        // The kernel's own files have no size.
        var bytes = [UInt8](repeating: 0, count: size > 0 ? min(size, limit) : limit)
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes {
                read(descriptor, $0.baseAddress?.advanced(by: filled), $0.count - filled)
            }
            guard count > 0 else { break }
            filled += count
        }
        return String(decoding: bytes[..<filled], as: UTF8.self)
    }

    /// The last `count` lines of a server's log, for an error.
    package static func lastLines(_ path: String, _ count: Int = 5) -> String {
        let lines = (text(path, last: 4096) ?? "").split(separator: "\n")
        return lines.suffix(count).joined(separator: "\n")
    }

    /// Makes `path` and its parents; the last one private (0700) and, when asked, owned by `owner`.
    package static func makeFolder(
        _ path: String,
        owner: (user: UInt32, group: UInt32)? = nil,
    ) throws(LocalServerError) {
        guard path.hasPrefix("/") else { throw LocalServerError(.directory, "\(path): an absolute path is needed") }
        var built = ""
        for part in path.split(separator: "/") {
            built += "/\(part)"
            guard mkdir(built, built == path ? 0o700 : 0o755) == 0 || errno == EEXIST else {
                throw LocalServerError(.directory, "\(built): \(String(cString: strerror(errno)))")
            }
        }
        if let owner, chown(path, owner.user, owner.group) != 0 {
            throw LocalServerError(.directory, "\(path): \(String(cString: strerror(errno)))")
        }
    }

    /// Removes a folder and everything below it, following no links. What cannot be removed stays.
    package static func removeTree(_ path: String) {
        var info = stat()
        guard lstat(path, &info) == 0 else { return }
        if info.st_mode & S_IFMT == S_IFDIR {
            for name in names(in: path) { removeTree("\(path)/\(name)") }
            rmdir(path)
        } else {
            unlink(path)
        }
    }

    /// A new private folder `/tmp/<prefix>-<pid>-XXXXXX`, short enough for sockets. Root may hand it to another user.
    package static func temporaryFolder(_ prefix: String) throws(LocalServerError) -> String {
        var template = Array("/tmp/\(prefix)-\(getpid())-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw LocalServerError(.directory, "/tmp: \(String(cString: strerror(errno)))")
        }
        return template.withUnsafeBufferPointer { buffer in
            String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
