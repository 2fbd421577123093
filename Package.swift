// swift-tools-version: 6.2
import PackageDescription

// Who may import whom is the architecture: a target lists exactly what it may see, and CI builds with
// `--explicit-target-dependency-import-check error`.

let common: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
    .unsafeFlags(["-cross-module-optimization"], .when(configuration: .release)),
]
/// What the simulation runs, compiled for speed in debug builds too where the environment asks for it. Whole modules at
/// once have no index: such a build wants `--disable-index-store`, and its tests a main file (scripts/test).
let fast: [SwiftSetting] =
    Context.environment["SMARTORDERS_OPTIMISED"] == "1"
    ? [
        .unsafeFlags(
            ["-O", "-whole-module-optimization", "-num-threads", "2", "-cross-module-optimization"],
            .when(configuration: .debug),
        )
    ] : []
/// The pure modules: no I/O, no clock, no Foundation.
let pure: [SwiftSetting] = common + [.strictMemorySafety()]

let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioWebSocket: Target.Dependency = .product(name: "NIOWebSocket", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "smartorders",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "smartorders", targets: ["SmartOrdersCLI"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
    ],
    targets: [
        // The pure core.
        .target(name: "SmartOrders", swiftSettings: pure + fast),
        .target(name: "TriggerIndex", dependencies: ["SmartOrders"], swiftSettings: pure + fast),
        .target(
            name: "OrderEngine", dependencies: ["SmartOrders", "TriggerIndex", "OwnerThread"],
            swiftSettings: pure + fast,
        ),

        // Small leaves that several modules need.
        .target(name: "JSONText", swiftSettings: pure),
        .target(name: "OrderJSON", dependencies: ["SmartOrders", "JSONText"], swiftSettings: pure),
        .target(
            name: "DecisionTimeline", dependencies: ["SmartOrders", "OrderEngine", "JSONText", "OrderJSON"],
            swiftSettings: pure,
        ),
        .target(name: "PaperMatching", dependencies: ["SmartOrders"], swiftSettings: pure),
        .target(name: "TickFiles", dependencies: ["SmartOrders", "CZlib"], swiftSettings: common),
        .target(name: "OwnerThread", swiftSettings: common + fast),
        .target(name: "LocalServers", dependencies: ["OwnerThread"], swiftSettings: common),

        // The deterministic simulation: stores, queue, prices and venue in memory, on an executor with a seed.
        .target(name: "CExecutorHook"),
        .target(
            name: "Simulation",
            dependencies: ["SmartOrders", "TriggerIndex", "OrderEngine", "OwnerThread", "CExecutorHook"],
            swiftSettings: common + fast,
        ),

        // Drivers.
        .systemLibrary(
            name: "CPostgres", path: "Sources/CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])],
        ),
        .systemLibrary(
            name: "CHiredis", path: "Sources/CHiredis", pkgConfig: "hiredis", providers: [.apt(["libhiredis-dev"])],
        ),
        .systemLibrary(name: "CZlib", path: "Sources/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .target(name: "PostgresClient", dependencies: ["CPostgres", "OwnerThread"], swiftSettings: common),
        .target(name: "RedisClient", dependencies: ["CHiredis", "OwnerThread"], swiftSettings: common),

        // Adapters: they never import each other.
        .target(
            name: "OrderStorage",
            dependencies: ["SmartOrders", "OrderEngine", "JSONText", "OrderJSON", "OwnerThread", "PostgresClient"],
            resources: [.embedInCode("SQL")],
            swiftSettings: common,
        ),
        .target(
            name: "TriggerQueue",
            dependencies: ["SmartOrders", "OrderEngine", "JSONText", "RedisClient", "OwnerThread"],
            resources: [.embedInCode("Lua")],
            swiftSettings: common,
        ),
        .target(
            name: "Exchanges",
            dependencies: [
                "SmartOrders", "OrderEngine", "JSONText", "OwnerThread", asyncHTTPClient, nioCore, nioPosix, nioHTTP1,
                nioWebSocket, nioSSL, crypto,
            ],
            swiftSettings: common,
        ),
        .target(
            name: "PaperVenue",
            dependencies: [
                "SmartOrders", "PaperMatching", "JSONText", "OwnerThread", nioCore, nioPosix, nioHTTP1, nioWebSocket,
                crypto, logging,
            ],
            swiftSettings: common,
        ),
        .target(
            name: "MarketData",
            dependencies: ["SmartOrders", "OrderEngine", "RedisClient", "OwnerThread", "TickFiles"],
            swiftSettings: common,
        ),
        .target(
            name: "HTTPAPI",
            dependencies: [
                "SmartOrders", "OrderEngine", "DecisionTimeline", "JSONText", "OrderJSON", "OwnerThread", hummingbird, hummingbirdCore, nioCore, nioPosix,
                nioHTTP1, nioWebSocket, httpTypes, crypto, logging,
            ],
            resources: [.embedInCode("Contract")],
            swiftSettings: common,
        ),
        .target(name: "Telemetry", dependencies: ["JSONText", "OwnerThread", logging], swiftSettings: common),

        // Golden scenarios and backtests: the real core on recorded prices, with the paper venue's matching rules.
        .target(
            name: "Replay",
            dependencies: ["SmartOrders", "TriggerIndex", "PaperMatching", "JSONText", "OrderJSON", "TickFiles"],
            swiftSettings: common,
        ),

        // The composition root.
        .executableTarget(
            name: "SmartOrdersCLI",
            dependencies: [
                "SmartOrders", "TriggerIndex", "OrderEngine", "DecisionTimeline", "JSONText", "OrderJSON", "OwnerThread",
                "PostgresClient", "RedisClient", "OrderStorage", "TriggerQueue", "Exchanges", "PaperVenue", "MarketData", "HTTPAPI",
                "Telemetry", "Replay", "TickFiles", "LocalServers", "Simulation", arguments, logging, crypto,
                asyncHTTPClient, nioCore, nioHTTP1,
            ],
            swiftSettings: common,
        ),

        // Tests.
        .target(
            name: "TestKit",
            dependencies: [
                "SmartOrders", "TriggerIndex", "OrderEngine", "JSONText", "OwnerThread", "LocalServers", "PostgresClient",
                "RedisClient",
            ],
            path: "Tests/TestKit",
            swiftSettings: common,
        ),
        .testTarget(name: "SmartOrdersTests", dependencies: ["SmartOrders", "TestKit"], swiftSettings: common),
        .testTarget(
            name: "DecisionTimelineTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "DecisionTimeline", "JSONText", "OrderJSON", "Simulation", "OwnerThread",
                "TestKit",
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "OrderJSONTests", dependencies: ["SmartOrders", "JSONText", "OrderJSON", "TestKit"],
            swiftSettings: common,
        ),
        .testTarget(name: "TickFilesTests", dependencies: ["SmartOrders", "TickFiles"], swiftSettings: common),
        .testTarget(
            name: "ReplayTests",
            dependencies: ["SmartOrders", "PaperMatching", "Replay", "TickFiles", "JSONText", "OrderJSON", "TestKit"],
            swiftSettings: common,
        ),
        .testTarget(
            name: "TriggerIndexTests", dependencies: ["SmartOrders", "TriggerIndex", "TestKit"], swiftSettings: common,
        ),
        .testTarget(
            name: "OrderEngineTests",
            dependencies: ["SmartOrders", "TriggerIndex", "OrderEngine", "OwnerThread", "Simulation", "TestKit"],
            swiftSettings: common,
        ),
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "OwnerThread", "Simulation", "OrderStorage", "TriggerQueue",
                "PostgresClient", "RedisClient", "LocalServers", "TestKit", "Exchanges", "PaperVenue", "JSONText", logging,
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "DriverTests",
            dependencies: ["PostgresClient", "RedisClient", "OwnerThread", "LocalServers", "Telemetry", "TestKit"],
            swiftSettings: common,
        ),
        .testTarget(
            name: "OrderStorageTests",
            dependencies: ["SmartOrders", "OrderEngine", "OrderStorage", "PostgresClient", "JSONText", "TestKit"],
            swiftSettings: common,
        ),
        .testTarget(
            name: "TriggerQueueTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "OrderStorage", "TriggerQueue", "PostgresClient", "RedisClient", "JSONText",
                "OwnerThread", "LocalServers", "Simulation", "TestKit",
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "MarketDataTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "MarketData", "RedisClient", "OwnerThread", "TickFiles", "LocalServers",
                "Simulation", "TestKit",
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "ExchangesTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "Exchanges", "PaperVenue", "JSONText", "OwnerThread", "LocalServers",
                "Simulation", "TestKit", logging, crypto,
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "PaperVenueTests",
            dependencies: [
                "SmartOrders", "PaperMatching", "PaperVenue", "JSONText", asyncHTTPClient, nioCore, nioPosix, nioHTTP1,
                nioWebSocket, crypto, logging,
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "HTTPAPITests",
            dependencies: [
                "SmartOrders", "OrderEngine", "OrderStorage", "PostgresClient", "HTTPAPI", "JSONText", "OrderJSON",
                "OwnerThread", "Simulation", "TestKit", asyncHTTPClient, nioCore, nioPosix, nioHTTP1, logging,
            ],
            swiftSettings: common,
        ),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "SmartOrders", "OrderEngine", "OrderStorage", "TriggerQueue", "JSONText", "TestKit", "PostgresClient",
                "RedisClient", "LocalServers", "TickFiles", "OwnerThread", asyncHTTPClient, nioCore, nioHTTP1,
            ],
            swiftSettings: common,
        ),
        .testTarget(name: "TidyTests", dependencies: ["TestKit"], swiftSettings: common),
    ],
    swiftLanguageModes: [.v6],
)
