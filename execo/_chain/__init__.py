"""Files to many hosts along a chain of them: who feeds whom (`plan`), what is said (`protocol`), what runs on the hosts (`hop.pl`)."""
