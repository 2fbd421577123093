internal import OrderEngine
public import PostgresClient
internal import SmartOrders

extension PostgresConfiguration {
    /// A pool for the stores. Their statements find a few rows by key, so the planner is told once and for all: plans do
    /// not depend on parameters, keys are looked up one by one (a plan that was made while a table was empty would
    /// otherwise hash it whole until the first ANALYZE), and nothing is worth compiling.
    ///
    /// Not `enable_seqscan = off`: its penalty on tables of one row makes all other costs look equal.
    public static func stores(conninfo: String, connections: Int = 4) -> PostgresConfiguration {
        var configuration = PostgresConfiguration(conninfo: conninfo, connections: connections)
        configuration.sessionSettings = [
            ("plan_cache_mode", "force_generic_plan"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"),
            ("random_page_cost", "1.1"), ("jit", "off"),
        ]
        return configuration
    }

    /// The same for operators within an API process: every account's rows, and no secret.
    public static func operators(conninfo: String, connections: Int = 1) -> PostgresConfiguration {
        var configuration = stores(conninfo: conninfo, connections: connections)
        configuration.sessionSettings.append(("role", "smartorders_operator"))
        configuration.sessionSettings.append(("app.door", "api"))
        return configuration
    }

    /// The same for an API process: its sessions see rows of the accounts in `Tenancy.accounts`, and of no others.
    public static func tenants(conninfo: String, connections: Int = 4) -> PostgresConfiguration {
        var configuration = stores(conninfo: conninfo, connections: connections)
        configuration.sessionSettings.append(("role", "smartorders_api"))
        configuration.sessionSettings.append(("app.door", "api"))
        let name = Statement(
            name: "tenants.accounts",
            sql: "SELECT set_config('app.accounts', $1::text, true)",
        )
        configuration.preamble = {
            Tenancy.accounts.map { accounts in
                (name, [.text("{" + accounts.map(\.description).joined(separator: ",") + "}")])
            }
        }
        return configuration
    }
}
