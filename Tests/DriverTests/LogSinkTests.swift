import Telemetry
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// RELIABILITY.md 6.12, FA131: nobody waits for whoever reads the log.
@Suite struct LogSinkTests {
    private func pipes() -> (reader: Int32, writer: Int32) {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        return (ends[0], ends[1])
    }

    private func text(_ reader: Int32, _ count: Int) -> String {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = read(reader, &bytes, count)
        return String(decoding: bytes[..<max(0, got)], as: UTF8.self)
    }

    @Test(.timeLimit(.minutes(1))) func `a pipe that nobody reads drops lines, counts them, and tells later`() {
        let (reader, writer) = pipes()
        let sink = LogSink(descriptor: writer)
        let line = String(repeating: "x", count: 999) + "\n"
        var written = 0
        while sink.waitingDrops == 0 {
            sink.write(line) { "lost \($0)\n" }
            written += 1
        }
        for _ in 0..<100 { sink.write(line) { "lost \($0)\n" } }
        #expect(sink.waitingDrops == 101)
        // Somebody reads again.
        var drained = 0
        while drained < (written - 1) * 1_000 { drained += text(reader, 1_000).utf8.count }
        sink.write("after\n") { "lost \($0)\n" }
        #expect(text(reader, 100) == "lost 101\nafter\n" && sink.waitingDrops == 0)
        close(reader)
        close(writer)
    }

    @Test func `a line longer than a pipe takes at once is not begun`() {
        let (reader, writer) = pipes()
        let sink = LogSink(descriptor: writer)
        sink.write(String(repeating: "x", count: LogSink.lineLimit) + "\n") { "lost \($0)\n" }
        sink.write("next\n") { "lost \($0)\n" }
        #expect(text(reader, 100) == "lost 1\nnext\n")
        close(reader)
        close(writer)
    }
}
