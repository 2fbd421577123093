import RedisClient
import Testing

@Suite struct RedisAddressTests {
    struct Right: Sendable {
        let url: String
        let address: RedisAddress
    }

    @Test(arguments: [
        Right(url: "redis://cache", address: RedisAddress(.tcp(name: "cache", port: 6379))),
        Right(url: "redis://cache:7000/", address: RedisAddress(.tcp(name: "cache", port: 7000))),
        Right(
            url: "redis://10.0.0.1:7000/15",
            address: RedisAddress(.tcp(name: "10.0.0.1", port: 7000), database: 15),
        ),
        Right(url: "redis://[::1]:7000/1", address: RedisAddress(.tcp(name: "::1", port: 7000), database: 1)),
        Right(
            url: "redis://u:p%40s%3a@h:1/2",
            address: RedisAddress(.tcp(name: "h", port: 1), user: "u", password: "p@s:", database: 2),
        ),
        Right(url: "redis://:p@h", address: RedisAddress(.tcp(name: "h", port: 6379), password: "p")),
        Right(url: "unix:///run/r@1.sock", address: RedisAddress(.unix(path: "/run/r@1.sock"))),
        Right(
            url: "unix://u:p@/run/r.sock?db=4",
            address: RedisAddress(.unix(path: "/run/r.sock"), user: "u", password: "p", database: 4),
        ),
        Right(
            url: "redis+sentinel://u:p@a,b:7/orders/3",
            address: RedisAddress(
                .sentinel([.init(name: "a", port: 26_379), .init(name: "b", port: 7)], master: "orders"),
                user: "u",
                password: "p",
                database: 3,
            ),
        ),
        Right(
            url: "redis+cluster://a:1,[::1]:2,c",
            address: RedisAddress(
                .cluster([.init(name: "a", port: 1), .init(name: "::1", port: 2), .init(name: "c", port: 6_379)])
            ),
        ),
    ])
    func `a right URL is read`(_ row: Right) throws {
        #expect(try RedisAddress(url: row.url) == row.address)
    }

    struct Wrong: Sendable {
        let url: String
        let error: RedisURLError
    }

    @Test(arguments: [
        Wrong(url: "http://h", error: .unknownScheme),
        Wrong(url: "", error: .unknownScheme),
        Wrong(url: "redis+sentinel://a", error: .badHost),
        Wrong(url: "redis+cluster://a/2", error: .badDatabase),
        Wrong(url: "rediss://h", error: .tlsUnsupported),
        Wrong(url: "redis://", error: .badHost),
        Wrong(url: "redis://h:0", error: .badPort),
        Wrong(url: "redis://h:65536", error: .badPort),
        Wrong(url: "redis://h/x", error: .badDatabase),
        Wrong(url: "redis://h/-1", error: .badDatabase),
        Wrong(url: "redis://u@h", error: .badLogin),
        Wrong(url: "redis://u:%zz@h", error: .badLogin),
        Wrong(url: "redis://[::1", error: .badHost),
        Wrong(url: "unix://run/r.sock", error: .badHost),
        Wrong(url: "unix:///r.sock?x=1", error: .badDatabase),
        Wrong(url: "unix:///" + String(repeating: "a", count: 107), error: .badHost),
    ])
    func `a wrong URL is refused with its fault`(_ row: Wrong) {
        #expect(throws: row.error) { try RedisAddress(url: row.url) }
    }

    @Test func `a login is never printed`() throws {
        let address = try RedisAddress(url: "redis://user:hunter2@h:1/2")
        var dumped = ""
        dump(RedisOptions(address: address), to: &dumped)
        for text in ["\(address)", String(reflecting: address), dumped] {
            #expect(!text.contains("hunter2"))
            #expect(!text.contains("user"))
        }
    }
}
