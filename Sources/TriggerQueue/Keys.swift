// Names of all keys of the queue (QUEUE.md 2). Nothing else in this module spells a key; the scripts append the suffixes
// of section 2.3 and 2.4 to the bases that they are given.
//
// | key | type | deleted by |
// |---|---|---|
// | `bull:{tag}-<class>:` + a suffix of 2.3 | as there | as there |
// | `so:{tag}:open` | string | `redis rebuild` replaces it |
// | `so:{tag}:took:<worker>` | hash, 60 s | expiry |
// | `so:{tag}:reclaim` | string, 900 ms | expiry |
// | `so:{tag}:probe` | string, 1 s | expiry |
// | `so:{tag}:reclaimed` | hash | `reclaim`, field by field |
// | `so:{tag}:paused` | hash | `resume`, `reclaim` |
// | `so:{tag}:retry:<class>` | set | promotion |
// | `so:{tag}:starts:<class>` | zset | `take`, `reclaim` |
public import OrderEngine
internal import RedisClient
public import SmartOrders

/// The partitions of the queue: each has its own hash tag, so it lies on one node of a Redis Cluster.
public enum QueuePartitions {
    /// Partition i lies in the i-th sixteenth of the slots in bit-reversed order, so that any count spreads evenly.
    package static let tags = [
        "so-00aa", "so-01ba", "so-02b", "so-03c", "so-04", "so-05d", "so-06fb", "so-07",
        "so-08dd", "so-09fc", "so-10ac", "so-11bc", "so-12ba", "so-13aa", "so-14c", "so-15b",
    ]

    public static let allowedCounts = [1, 2, 4, 8, 16]

    /// The partition of an order's jobs, of `count`.
    public static func partition(of order: OrderID, count: Int) -> Int { order.shard % count }
}

/// The keys that one partition's scripts are called with.
struct PartitionKeys: Sendable {
    let open: String
    /// Everything private of the partition starts with this.
    let `private`: String
    /// In the order of `JobClass.allCases`.
    let bases: [String]
    let markers: [String]
    /// All keys of the partition lie in this slot of a cluster.
    let slot: Int

    /// - Parameter partition: 0 to 15.
    init(partition: Int) {
        let tag = QueuePartitions.tags[partition]
        `private` = "so:{\(tag)}:"
        open = "so:{\(tag)}:open"
        bases = JobClass.allCases.map { "bull:{\(tag)}-\($0.rawValue):" }
        markers = bases.map { "\($0)marker" }
        slot = RedisClusterMap.slot(of: open)
    }

    func base(_ jobClass: JobClass) -> String { bases[jobClass.position] }
    func job(_ id: String, _ jobClass: JobClass) -> String { "\(base(jobClass))\(id)" }
    func failed(_ jobClass: JobClass) -> String { "\(base(jobClass))failed" }
    func retry(_ jobClass: JobClass) -> String { "\(`private`)retry:\(jobClass.rawValue)" }
    func meta(_ jobClass: JobClass) -> String { "\(base(jobClass))meta" }
    func legacyPaused(_ jobClass: JobClass) -> String { "\(base(jobClass))paused" }

    /// The keys that a count of jobs reads, in the order of `QueueCounts`, and whether each is a list.
    func counted(_ jobClass: JobClass) -> [(command: String, key: String)] {
        let base = base(jobClass)
        return [
            ("LLEN", "\(base)wait"), ("ZCARD", "\(base)prioritized"), ("LLEN", "\(base)paused"),
            ("LLEN", "\(base)active"), ("ZCARD", "\(base)delayed"),
            ("SCARD", "\(`private`)retry:\(jobClass.rawValue)"),
            ("ZCARD", "\(base)completed"), ("ZCARD", "\(base)failed"),
        ]
    }
}

/// One queue: a class in a partition. Its name outside is `<class>-<nn>`, e.g. `stops-03`.
public struct QueueAddress: Hashable, Sendable, CustomStringConvertible {
    public let partition: Int
    public let jobClass: JobClass

    public init(partition: Int, jobClass: JobClass) {
        self.partition = partition
        self.jobClass = jobClass
    }

    public var description: String { "\(jobClass.rawValue)-\(partition < 10 ? "0" : "")\(partition)" }
}

extension JobClass {
    /// 0 for the most urgent.
    var position: Int {
        switch self {
        case .stops: 0
        case .targets: 1
        case .housekeeping: 2
        }
    }
}
