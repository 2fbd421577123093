// Whose rows a task may see, where the database itself keeps tenants apart (RELIABILITY.md 10.4).

public import SmartOrders

/// Set around everything that an API process does for a caller; its sessions show rows of these accounts and of no
/// others. Sessions of workers and tools do not ask.
public enum Tenancy {
    /// Nil: nobody's.
    @TaskLocal public static var accounts: [AccountID]?
}
