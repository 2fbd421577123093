import LocalServers
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(1))) struct OwnedProcessTests {
    /// A socket that a child held too would not end for its peer when we close it.
    @Test func `a child holds nothing that its parent has open`() async throws {
        let folder = try LocalFiles.temporaryFolder("so-child")
        defer { LocalFiles.removeTree(folder) }
        var ends: [Int32] = [-1, -1]
        #if canImport(Glibc)
        let kind = Int32(SOCK_STREAM.rawValue)
        #else
        let kind = SOCK_STREAM
        #endif
        try #require(socketpair(AF_UNIX, kind, 0, &ends) == 0)
        let sleeper = try await OwnedProcess.start(["/bin/sleep", "50"], log: "\(folder)/log")
        close(ends[0])
        var watched = pollfd(fd: ends[1], events: Int16(POLLIN), revents: 0)
        #expect(poll(&watched, 1, 10_000) == 1, "no end is seen while the child lives")
        #expect(sleeper.isRunning)
        close(ends[1])
        sleeper.killBlocking()
    }
}
