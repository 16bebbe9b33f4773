"""The cluster's certificate authority and one client certificate for each component, made by openssl."""

import subprocess


class Authority:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.certificate = folder / "ca.crt"
        self._openssl(*self._key("ca"), "-x509", "-days", "2", "-subj", "/CN=fieldgate-test-ca", "-keyout", "ca.key", "-out", "ca.crt")
        self._openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "service-accounts.key")
        self._openssl("pkey", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub")
        self.service_account_key = folder / "service-accounts.key"
        self.service_account_public = folder / "service-accounts.pub"

    def issue(self, name, user, group=None, hosts=()):
        """A certificate for a user (and group) as Kubernetes reads them; with hosts also for serving. Returns its files."""
        subject = (f"/O={group}" if group else "") + f"/CN={user}"
        self._openssl(*self._key(name), "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        lines = ["extendedKeyUsage=clientAuth,serverAuth"]
        if hosts:
            kind = lambda host: "IP" if host.replace(".", "").isdigit() else "DNS"  # noqa: E731
            lines.append("subjectAltName=" + ",".join(f"{kind(host)}:{host}" for host in hosts))
        (self.folder / f"{name}.ext").write_text("\n".join(lines))
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def kubeconfig(self, name, server, user, group=None):
        certificate, key = self.issue(name, user, group)
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(f"""apiVersion: v1
kind: Config
current-context: node
clusters:
- name: node
  cluster: {{server: "{server}", certificate-authority: "{self.certificate}"}}
users:
- name: {name}
  user: {{client-certificate: "{certificate}", client-key: "{key}"}}
contexts:
- name: node
  context: {{cluster: node, user: {name}}}
""")
        return path

    @staticmethod
    def _key(name):
        return ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def _openssl(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stderr}"
