public import PostgresClient

extension PostgresConfiguration {
    /// A pool for the stores. Their statements find rows by key only, so the planner is told once and for all: plans do
    /// not depend on parameters, tables that have an index are not read whole (a plan that was made while they were
    /// empty would do that until the first ANALYZE), and nothing is worth compiling.
    public static func stores(conninfo: String, connections: Int = 4) -> PostgresConfiguration {
        var configuration = PostgresConfiguration(conninfo: conninfo, connections: connections)
        configuration.sessionSettings = [
            ("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("random_page_cost", "1.1"),
            ("jit", "off"),
        ]
        return configuration
    }
}
