//! Values by their names: what goes and what stays.

use crate::export::redact::{Found, Redactor};

fn redacted(text: &str) -> String {
    Redactor::new([]).text(text, &mut Found::default()).into_owned()
}

#[test]
fn only_the_value_goes() {
    // `§` stands for what must go.
    for text in [
        "password = \"§hunter2§\"",
        "password = '§hunter2§' # changed",
        "DB_PASSWORD=§hunter2§\nDB_USER=app",
        "DB_PASSWORD=§swordfish§\nDB_USER=app",
        "export API_KEY=§abc§ && run",
        "password: §hunter2§\nuser: x",
        "  password: §swordfish§\n",
        "{\"client_secret\": \"§s3cr et§\", \"a\": 1}",
        "{'api-key': '§abc§'}",
        "{\\\"password\\\": \\\"§hun\\\\\\\"ter2§\\\", \\\"user\\\": \\\"x\\\"}",
        "config[\"password\"] = \"§hunter2§\"",
        "mysql --user x --password §swordfish§ db",
        "mysql --password=§swordfish§ db",
        "[\"--token\", \"§swordfish§\"]",
        "<password>§hunter2§</password>",
        "<db><Password>§hunter2§</Password></db>",
        "?api_key=§abc123§&user=x",
        "Server=x;User Id=y;Password=§hunter2§;Encrypt=true",
        "secretKey => '§abc§'",
        "password := \"§abc§\"",
        "if password == \"§hunter2§\" {",
        "const PASSWORD: &str = \"§hunter2§\";",
        "password: str = '§hunter2§'",
        "auth.password \"§hunter2§\";",
        "Authorization: Bearer §abcd§\r\nHost: x",
        "curl -H 'Authorization: token §abcdef§' x",
        "Authorization: Digest §username=\"Mufasa\", response=\"ab\"§\nHost: x",
        "\"Authorization\": \"Basic §c2VjcmV0§\"",
        "X-Api-Key: §8f3a§",
        "//registry.example/:_authToken=§0a1b2c3d-1111§",
        "token: §abcdef123456§",
        "AccountKey=§Zm9vYmFy+/==§;EndpointSuffix=x",
        "password = \"\"\"§hunter2§\"\"\"",
        "password = b'§hunter2§'",
        "password=§pa,ss§, user=x",
        "(user='x', password='§hunter2§')",
        "PASSWORD=§hunter2§\\nUSER=x",
        "if (\"§hunter2§\" == self.password) {",
        "- name: DB_PASSWORD\n  value: §hunter2§\n",
        "contraseña: §hunter2§",
        "ssh_key = §AbCdEfGhIjKlMnOpQrSt1234§",
        "password = \"§cut off",
        "{password: §hunter2§, user: x}",
        "machine h login x password §y§",
        "machine h login x password §swordfish§\nmachine other login x",
        "machine h\n\tlogin x\n\tpassword §hunter2§\n",
        "machine api.example password §hun(ter2§ login x",
        "machine api.example\n  password\n  §swordfish§\n",
        "default login anonymous password §user@site§",
        "machine h login x account a password §p\"&<x;§\nmachdef init",
        "machine h login x password \"§two words§\"\n",
        "echo 'machine h login x password §hun\"ter2§' > .netrc",
        "printf \"machine h\\nlogin x\\npassword §hunter2§\\n\" > .netrc",
        "{\"a\": \"machine h login password password §swordfish§\"",
        "\\\"machine h login x password §swordfish§\\\"",
        "machine imap port 993 login x password §hunter2§",
    ] {
        let mut expected = String::new();
        let mut parts = text.split('§');
        expected.push_str(parts.next().unwrap());
        expected.push_str("[REDACTED:named]");
        if parts.next().is_some() {
            expected.push_str(parts.next().unwrap_or_default());
        }
        let plain = text.replace('§', "");
        assert_eq!(redacted(&plain), expected, "{plain}");
        assert_eq!(redacted(&expected), expected);
    }
}

#[test]
fn prose_code_and_placeholders_stay() {
    for text in [
        "token count: 5",
        "max_tokens = 100",
        "token_type: bearer",
        "{\"token_type\": \"bearer\", \"expires_in\": 3600}",
        "password: None",
        "\"password\": null,",
        "\"password\": \"\"",
        "password = \"***\"",
        "PASSWORD=${VAR}",
        "PASSWORD=$DB_PASSWORD",
        "password: <placeholder>",
        "password: {{ vault_password }}",
        "x.getPassword()",
        "def read(self, name, pwd=None):",
        "def getpass(prompt='Password: ', stream=None):",
        "assert password == expected",
        "${PASSWORD:?set PASSWORD}",
        "After a changed Secret: `kubectl -n x rollout`",
        "password = os.environ[\"X\"]",
        "password = getpass.getpass()",
        "self.password = password",
        "password=password,",
        "let token = parse(x);",
        "token: String,",
        "password: &str,",
        "secret: Option<String>",
        "pub fn login(user: &str, password: &str) -> Result<Token> {",
        "for token in tokens:",
        "The password: it must be long enough",
        "token::parse(x)",
        "PWD=/home/user",
        "const SECRET: usize = 20;",
        "--password-file /run/x1",
        "--token --verbose",
        "a secret is a thing 'that' nobody knows",
        "the author: someone123456",
        "key = \"users/list/2024\"",
        "cache_key = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "\"next_page_token\": \"CAUQAA1234567890\"",
        "password=[REDACTED:named]",
        "secretary: Anna4711",
        "the machine whose password is known",
        "The default password is swordfish",
        "log in to the machine with login root and password swordfish1",
        "every machine has a login with a password that is long",
        "login x password swordfish1",
        "my-machine h login x password swordfish1",
        "machine h login x password",
        "machine h login x password ${PASSWORD}",
        "machine h login x password $(cat file)",
        "machine h login x password <password>",
        "machine h login x password [REDACTED:named]",
        "machine h login x password\nmachine i login y",
        "'machine h login x password ' + value",
        "\"sha256\": \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
    ] {
        assert_eq!(redacted(text), text);
    }
}
