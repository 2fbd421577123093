import ArgumentParser

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What went wrong, in one line, with the way out and the exit code of INTERFACES.md 4.1.
struct Failure: Error {
    enum Exit: Int32 {
        case failed = 1
        case usage = 2
        case notFound = 3
        case conflict = 4
        case unreachable = 6
        case refused = 7
    }
    let exit: Exit
    let code: String
    let sentence: String
    let hint: String?

    init(_ exit: Exit, _ code: String, _ sentence: String, hint: String? = nil) {
        self.exit = exit
        self.code = code
        self.sentence = sentence
        self.hint = hint
    }

    var line: String {
        let end = sentence.hasSuffix(".") ? "" : "."
        return "error: \(code): \(sentence)\(end)" + (hint.map { " hint: \($0)" } ?? "")
    }
}

/// Writes a line to standard error: everything that is not data.
func tell(_ line: String) {
    let text = line + "\n"
    _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
}

/// Writes a line to standard output: data.
func show(_ line: String) {
    let text = line + "\n"
    _ = text.withCString { write(STDOUT_FILENO, $0, strlen($0)) }
}
