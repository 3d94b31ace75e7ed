DROP TABLE wrong_passwords;
