DROP TABLE instruments, account_stream, api_keys, credentials, accounts;
